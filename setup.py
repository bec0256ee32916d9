from setuptools import find_packages, setup
setup(packages=[*find_packages(include=["lmk3d*"]), "lmk3d.bundles"])
