// The viewer: NiiVue draws the scan, this file marks the landmarks on it and ties them to the table.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const canvas = document.getElementById("scan"), marks = document.getElementById("marks");
  const list = document.querySelector("tbody"), trouble = document.getElementById("trouble");
  const TRUTH = "#53e07d", PLAIN = "#ffd84d", LINE = "#f2f2f2", RIM = "#000000b0";
  // The world axes across, up and away from the viewer, by NiiVue's number of the plane.
  const AXES = [[0, 1, 2], [0, 2, 1], [1, 2, 0]];
  const PLANES = { axial: 0, coronal: 1, sagittal: 2, all: 3, "3D": 4 };
  let selected = -1, names = true;

  const nv = new niivue.Niivue({
    backColor: [0.078, 0.078, 0.078, 1], crosshairColor: [0.49, 0.83, 1, 0.75], crosshairWidth: 0.25,
    crosshairWidthUnit: "percent", crosshairGap: 4, isSliceMM: true, isRadiologicalConvention: true, sagittalNoseLeft: true,
    multiplanarShowRender: 1, multiplanarPadPixels: 4, dragAndDropEnabled: false, viewModeHotKey: "", clipPlaneHotKey: "",
    cycleClipPlaneHotKey: "", logLevel: "error", loadingText: "", fontSizeScaling: 0.3, isOrientationTextVisible: !data.film,
  });

  function jump(number) {
    const row = data.rows[number], point = row.predicted || row.truth;
    selected = number;
    for (const line of list.rows) line.setAttribute("aria-selected", String(Number(line.dataset.row) === number));
    if (!point) return nv.drawScene();
    nv.scene.crosshairPos = nv.mm2frac(point, 0, true);
    nv.createOnLocationChange();
    nv.drawScene();
  }

  /** Where world points lie in one of NiiVue's pictures: [x, y, depth in mm; undefined in 3D]. */
  function projection(tile, index) {
    const [left, top, width, height] = tile.leftTopWidthHeight;
    if (tile.axCorSag > 2) {
      const m = nv.calculateMvpMatrix(null, tile.leftTopWidthHeight, nv.scene.renderAzimuth, nv.scene.renderElevation)[0];
      const row = (k, q) => m[k] * q[0] + m[k + 4] * q[1] + m[k + 8] * q[2] + m[k + 12];
      return (q) => [left + (0.5 + row(0, q) / 2) * width, top + (0.5 - row(1, q) / 2) * height];
    }
    const at = (x, y) => nv.frac2mm(nv.screenXY2TextureFrac(left + x * width, top + y * height, index, false));
    // Inside the picture, since NiiVue knows no place on its very edge.
    const base = at(0.25, 0.25), right = at(0.75, 0.25), low = at(0.25, 0.75);
    const u = [0, 1, 2].map((k) => 2 * (right[k] - base[k])), v = [0, 1, 2].map((k) => 2 * (low[k] - base[k]));
    const [a, b, c] = AXES[tile.axCorSag], det = u[a] * v[b] - v[a] * u[b];
    return (q) => {
      const dx = q[a] - base[a], dy = q[b] - base[b];
      const x = (dx * v[b] - dy * v[a]) / det, y = (u[a] * dy - u[b] * dx) / det;
      return [left + (0.25 + x) * width, top + (0.25 + y) * height, q[c] - base[c] - x * u[c] - y * v[c]];
    };
  }

  function stroke(pen, width, color, draw) {
    for (const [size, look] of [[width + 2 * devicePixelRatio, RIM], [width, color]]) {
      pen.lineWidth = size;
      pen.strokeStyle = look;
      pen.beginPath();
      draw();
      pen.stroke();
    }
  }

  function ring(pen, [x, y], size) {
    stroke(pen, 1.6 * devicePixelRatio, TRUTH, () => pen.arc(x, y, size, 0, 7));
  }

  function cross(pen, [x, y], size, color, dashed) {
    pen.setLineDash(dashed ? [0.17 * size, 0.12 * size] : []);
    stroke(pen, 1.8 * devicePixelRatio, color, () => {
      for (const [dx, dy] of [[1, 1], [1, -1], [-1, 1], [-1, -1]]) {
        pen.moveTo(x + 0.25 * size * dx, y + 0.25 * size * dy);
        pen.lineTo(x + 0.85 * size * dx, y + 0.85 * size * dy);
      }
    });
    pen.setLineDash([]);
  }

  /** How strongly a mark is drawn that lies this far from the slice; one that is chosen is never lost. */
  function strength(depth, chosen) {
    if (depth === undefined || data.film) return 1;
    const far = Math.abs(depth) / data.slab_mm;
    return Math.max(far <= 0.25 ? 1 : 1 - far, chosen ? 0.45 : 0);
  }

  function label(pen, row, [x, y], { size, taken, chosen, start, end }) {
    pen.font = `${chosen ? "600 " : ""}${12 * devicePixelRatio}px system-ui, sans-serif`;
    const width = pen.measureText(row.name).width, height = 14 * devicePixelRatio;
    const clear = (box) => !taken.some((own) => own[0] < box[2] && box[0] < own[2] && own[1] < box[3] && box[1] < own[3]);
    const places = [[x + 1.4 * size, y], [x - 1.4 * size - width, y], [x - width / 2, y + 2 * size], [x - width / 2, y - 2 * size]]
      .map(([left, middle]) => [Math.max(start, Math.min(left, end - width)), middle]);
    const around = ([left, middle]) => [left, middle - height / 2, left + width, middle + height / 2];
    const place = places.find((own) => clear(around(own))) || (chosen && places[0]);
    if (!place) return;
    const [left, middle] = place, box = around(place);
    taken.push(box);
    pen.lineWidth = 3 * devicePixelRatio;
    pen.strokeStyle = RIM;
    pen.lineJoin = "round";
    pen.textBaseline = "middle";
    pen.strokeText(row.name, left, middle);
    pen.fillStyle = chosen ? "#ffffff" : "#d8d8d8";
    pen.fillText(row.name, left, middle);
  }

  function drawTile(pen, tile, index) {
    const place = projection(tile, index), size = 7 * devicePixelRatio, taken = [];
    const start = tile.leftTopWidthHeight[0], end = start + tile.leftTopWidthHeight[2];
    pen.save();
    pen.beginPath();
    pen.rect(...tile.leftTopWidthHeight);
    pen.clip();
    const shown = data.rows.map((row, number) => {
      const chosen = number === selected, spots = [row.truth, row.predicted].map((point) => point && place(point));
      const alphas = spots.map((spot) => (spot ? strength(spot[2], chosen) : 0));
      return { row, chosen, spots, alphas, most: Math.max(...alphas) };
    }).filter((own) => own.most > 0.02).sort((a, b) => b.chosen - a.chosen);
    // Names keep clear of marks, as long as there are few enough marks for that.
    for (const { spots } of shown.length > 30 ? [] : shown) {
      for (const spot of spots) if (spot) taken.push([spot[0] - size, spot[1] - size, spot[0] + size, spot[1] + size]);
    }
    for (const { row, chosen, spots, alphas, most } of shown) {
      pen.globalAlpha = most;
      if (spots[0] && spots[1]) {
        stroke(pen, 1.5 * devicePixelRatio, LINE, () => { pen.moveTo(...spots[0]); pen.lineTo(...spots[1]); });
      }
      const grown = chosen ? 1.35 * size : size;
      if (alphas[0] > 0.02) { pen.globalAlpha = alphas[0]; ring(pen, spots[0], grown); }
      if (alphas[1] > 0.02) { pen.globalAlpha = alphas[1]; cross(pen, spots[1], grown, row.color || PLAIN, row.dashed); }
      pen.globalAlpha = most;
      if (names && (chosen || most > 0.5)) label(pen, row, spots[1] || spots[0], { size: grown, taken, chosen, start, end });
    }
    pen.restore();
  }

  function drawMarks() {
    if (marks.width !== canvas.width || marks.height !== canvas.height) {
      marks.width = canvas.width;
      marks.height = canvas.height;
    }
    const pen = marks.getContext("2d");
    pen.clearRect(0, 0, marks.width, marks.height);
    nv.screenSlices.forEach((tile, index) => drawTile(pen, tile, index));
  }

  function sortBy(button) {
    const head = button.closest("th"), column = head.cellIndex;
    const down = head.getAttribute("aria-sort") === "ascending" || (column > 0 && !head.hasAttribute("aria-sort"));
    for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (line) => line.cells[column].dataset.value ?? "";
    const compare = (a, b) => {
      if (column === 0) return key(a).localeCompare(key(b));
      if (key(a) === "" || key(b) === "") return (key(a) === "") === (key(b) === "") ? 0 : key(a) === "" ? 1e9 : -1e9;
      return Number(key(a)) - Number(key(b));
    };
    const lines = [...list.rows].sort((a, b) => {
      const order = compare(a, b);
      return Math.abs(order) === 1e9 ? order : down ? -order : order; // what has no number stays last
    });
    list.append(...lines);
  }

  function listen() {
    list.addEventListener("click", (event) => jump(Number(event.target.closest("tr").dataset.row)));
    list.addEventListener("keydown", (event) => {
      const line = event.target.closest("tr");
      const next = { ArrowDown: line.nextElementSibling, ArrowUp: line.previousElementSibling }[event.key];
      if (next) next.focus();
      if (event.key === "Enter" || event.key === " ") jump(Number(line.dataset.row));
      if (next || ["Enter", " "].includes(event.key)) event.preventDefault();
    });
    for (const button of document.querySelectorAll("thead button")) button.addEventListener("click", () => sortBy(button));
    for (const button of document.querySelectorAll(".planes button")) {
      button.addEventListener("click", () => {
        for (const other of button.parentNode.children) other.setAttribute("aria-pressed", String(other === button));
        nv.setSliceType(PLANES[button.dataset.plane]);
      });
    }
    document.getElementById("names").addEventListener("change", (event) => {
      names = event.target.checked;
      drawMarks();
    });
  }

  async function start() {
    if (!document.createElement("canvas").getContext("webgl2")) throw new Error("this browser has no WebGL 2");
    await nv.attachToCanvas(canvas);
    const holder = document.getElementById("volume"), base64 = holder.textContent.trim();
    holder.remove();
    nv.addVolume(await niivue.NVImage.loadFromBase64({ base64, name: "volume.nii.gz", colormap: "gray" }));
    nv.setSliceType(PLANES[data.film || "all"]);
    nv.onLocationChange = (place) => {
      const [r, a, s] = [...place.mm].map((value) => value.toFixed(1).replace("-", "\u2212"));
      document.getElementById("where").textContent = `R ${r}  A ${a}  S ${s} ${data.unit}   value ${Number(place.values[0].value.toPrecision(5))}`.replace("value -", "value \u2212");
    };
    const draw = nv.drawScene.bind(nv);
    nv.drawScene = () => { const said = draw(); drawMarks(); return said; };
    if (!data.film) {
      nv.setRenderAzimuthElevation(160, 12);
      await nv.setVolumeRenderIllumination(0.7);
      await nv.setGradientOpacity(0.4); // surfaces stay, what is even inside becomes clear
    }
    const first = data.rows.findIndex((row) => row.predicted || row.truth);
    if (first >= 0) jump(first); else nv.drawScene();
  }

  listen();
  // For tests and the console: when the scan is there, where the crosshair is, where a point is drawn in a picture.
  window.lmk3d = {
    ready: start().then(() => true, (error) => {
      trouble.textContent = `The scan cannot be shown: ${error.message}. The table holds all points.`;
      trouble.hidden = false;
      return false;
    }),
    crosshair: () => [...nv.frac2mm(nv.scene.crosshairPos)].slice(0, 3),
    drawn: (point, plane) => {
      const index = nv.screenSlices.findIndex((tile) => tile.axCorSag === PLANES[plane]);
      return projection(nv.screenSlices[index], index)(point);
    },
  };
})();
