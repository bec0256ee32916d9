"""Phantoms with exactly known landmarks, for training, tests and the demo: CTA, radiographs, outlines of hands.

Of the CTA every landmark is a point of the drawn geometry, exact to rounding in world mm, whatever the grid:

- ``right_coronary_ostium``, ``left_coronary_ostium``: where the centreline of the right coronary artery and of the left
  main stem passes through the wall of its aortic sinus.
- ``left_main_bifurcation``: where the centrelines of the anterior descending and the circumflex artery part.
- ``non_coronary_commissure``: origin of the non-coronary commissure, taken as that sinus's hinge point: the lowest
  point of its leaflet's attachment, where in the sinus's middle plane its wall meets the wall of the outflow tract.
- ``heart_apex``: the outermost point of the left ventricle's outer surface along its long axis.
- ``brachiocephalic_origin``, ``left_common_carotid_origin``, ``left_subclavian_origin``, ``coeliac_origin``,
  ``superior_mesenteric_origin``, ``right_renal_origin``, ``left_renal_origin``: where the branch's centreline passes
  through the wall of the aorta.
- ``brachiocephalic_bifurcation``: where the centrelines of the right common carotid and right subclavian artery part.
- ``aortic_bifurcation``: where the centrelines of the two common iliac arteries part.

``varied_phantom`` draws the same anatomy as scans of other hospitals, patients and fields of view show it, and scans
that show none of it.

``film_phantom`` draws radiographs of four kinds; ``lmk3d.synthetic.skull``, ``spine``, ``chest`` and ``mediastinum``
say where their points lie.
"""

from lmk3d.synthetic.anatomy import AORTIC_LANDMARKS, CARDIAC_LANDMARKS
from lmk3d.synthetic.chest import CHEST_CONTOURS, CHEST_LANDMARKS
from lmk3d.synthetic.film import FilmPhantom, film_phantom
from lmk3d.synthetic.hand import HAND_BONES, HandPhantom, hand_phantom
from lmk3d.synthetic.mediastinum import MEDIASTINUM_LANDMARKS
from lmk3d.synthetic.phantom import Phantom, cta_phantom
from lmk3d.synthetic.skull import SKULL_LANDMARKS
from lmk3d.synthetic.spine import SPINE_LANDMARKS, VERTEBRAE
from lmk3d.synthetic.varied import VIEWS, varied_phantom

__all__ = [
    "AORTIC_LANDMARKS",
    "CARDIAC_LANDMARKS",
    "CHEST_CONTOURS",
    "CHEST_LANDMARKS",
    "HAND_BONES",
    "MEDIASTINUM_LANDMARKS",
    "SKULL_LANDMARKS",
    "SPINE_LANDMARKS",
    "VERTEBRAE",
    "VIEWS",
    "FilmPhantom",
    "HandPhantom",
    "Phantom",
    "cta_phantom",
    "film_phantom",
    "hand_phantom",
    "varied_phantom",
]
