"""Build hook: compile the package's one native module, where there is a compiler; without it the package works too."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution, Extension
from setuptools.errors import BaseError, CCompilerError

MODULE = "edgeroot.daemon._exchange"
SOURCE = "src/edgeroot/daemon/_exchange.c"
FLAGS = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror=implicit-function-declaration", "-fstack-protector-strong"]


class NativeBuildHook(BuildHookInterface[Any]):
    """Adds the compiled module to a wheel, or puts it beside its source for an editable installation."""

    _folder: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before a wheel is put together."""
        if self.target_name != "wheel" or sys.platform != "linux":
            return
        self._folder = Path(tempfile.mkdtemp(prefix="edgeroot-build-"))
        try:
            built = self._compile(self._folder)
        except (BaseError, CCompilerError) as error:
            self.app.display_warning(
                f"{SOURCE} was not compiled, so the service will be slower: install a C compiler and Python's "
                f"header files (Debian: gcc libc6-dev python3-dev) and install again. ({error})"
            )
            return
        place = Path(SOURCE).parent / built.name
        if version == "editable":
            beside = Path(self.root) / place
            beside.unlink(missing_ok=True)  # a process may have it mapped
            beside.write_bytes(built.read_bytes())
        else:
            build_data["force_include"][str(built)] = str(place.relative_to("src"))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called by hatchling when the wheel is written."""
        if self._folder is not None:
            shutil.rmtree(self._folder)

    def _compile(self, folder: Path) -> Path:
        # Nothing of where it was built: without debugging information, and paths in assertions begin at the root.
        flags = [*FLAGS, "-g0", f"-ffile-prefix-map={self.root}=."]
        source = str(Path(self.root) / SOURCE)
        extension = Extension(MODULE, [source], extra_compile_args=flags, extra_link_args=["-s", "-Wl,--build-id=none"])
        command = Distribution({"name": "edgeroot", "ext_modules": [extension]}).get_command_obj("build_ext")
        command.build_lib = command.build_temp = str(folder)
        command.ensure_finalized()
        command.run()
        return Path(command.get_outputs()[0])
