"""What pyproject.toml cannot say: configs/ stands beside the package and is installed inside it, as nwt_jax/configs."""

from setuptools import find_packages, setup

setup(
  packages=[*find_packages(include=["nwt_jax*"]), "nwt_jax.configs"],
  package_dir={"nwt_jax.configs": "configs"},
)
