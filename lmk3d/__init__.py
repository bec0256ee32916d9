"""Anatomical landmarks in 3D scans and radiographs; import what you need from its rooms, see docs/."""
