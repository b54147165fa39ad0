"""The Yocto layer, as far as it can be tried without building an image."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import jsonschema
import pytest
import yaml

from tests.support.pkcs11_module import module
from tests.support.service import running_service

ROOT = Path(__file__).parents[2]
LAYER = ROOT / "meta-edgeroot"
RECIPE = LAYER / "recipes-security/edgeroot/edgeroot_git.bb"
# Whether a page answers is not of the recipe, and a service is for the target alone.
NOT_OURS = ("oelint.vars.homepageping", "oelint.var.bbclassextend")
# What openembedded-core and meta-python have.
THERE = {"bubblewrap", "cbor2", "click", "core", "cryptography", "prometheus-client", "protobuf", "rich", "sqlite3"}
THERE |= {"pyjwt", "uvicorn"}


@pytest.mark.parametrize("release", ["wrynose", "blacksail"])
def test_oelint_finds_nothing(release: str) -> None:
    recipes = [path for kind in ("bb", "inc", "bbclass") for path in sorted(LAYER.rglob(f"*.{kind}"))]
    command = [sys.executable, "-m", "oelint_adv", "--release", release, "--mode", "all", "--quiet"]
    command += [part for rule in NOT_OURS for part in ("--suppress", rule)]
    command += [*map(str, recipes), str(LAYER / "conf/layer.conf")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # The variable is useradd.bbclass's.
    said = [line for line in (done.stdout + done.stderr).splitlines() if "'GROUPMEMS_PARAM' is unknown" not in line]
    assert said == []
    assert len(recipes) >= 7


@pytest.mark.parametrize("path", sorted((LAYER / "kas").glob("*.yml")), ids=lambda path: str(path.name))
def test_kas_understands_its_files(path: Path) -> None:
    schema = json.loads(files("kas").joinpath("schema-kas.json").read_text())
    document = yaml.safe_load(path.read_text())
    jsonschema.validate(document, schema)
    for included in document["header"].get("includes", []):
        assert (path.parent / included).exists()


def kernel() -> ModuleType:
    spec = importlib.util.spec_from_file_location("edgeroot_kernel", LAYER / "lib/edgeroot_kernel/__init__.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_missing_options_of_the_kernel_are_named() -> None:
    check = kernel()
    whole = "".join(f"{option}={'y' if number % 2 else 'm'}\n" for number, option in enumerate(check.ALWAYS))
    assert check.missing(whole, []) == []
    without = whole.replace("CONFIG_SECURITY_LANDLOCK=y", "# CONFIG_SECURITY_LANDLOCK is not set")
    without = without.replace("CONFIG_SECURITY_LANDLOCK=m", "# CONFIG_SECURITY_LANDLOCK is not set")
    assert [option for option, _ in check.missing(without, [])] == ["CONFIG_SECURITY_LANDLOCK"]
    assert {option for option, _ in check.missing(whole, ["tpm", "ts"])} == {
        option for name in ("tpm", "ts") for option in check.BACK_ENDS[name]
    }


def depends(package: str) -> set[str]:
    found = re.search(rf'^RDEPENDS:\$\{{PN\}}{package} = "(.*?)"', RECIPE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    return {one.removeprefix("python3-") for one in found[1].replace("\\", "").split() if one != "${PN}"}


def test_what_the_project_needs_the_recipe_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def named(lines: list[str]) -> set[str]:
        return {re.split(r"[\[<>=!~ ]", line)[0].lower() for line in lines}

    assert named(project["dependencies"]) <= depends("")
    for extra in ("verifier", "update"):
        assert named(project["optional-dependencies"][extra]) <= depends(f"-{extra}")


def test_what_is_nowhere_else_the_layer_has() -> None:
    own = {path.name.split("_")[0].removeprefix("python3-") for path in LAYER.glob("recipes-devtools/python/*.bb")}
    wanted = depends("") | depends("-verifier") | depends("-update") | depends("-secure-world")
    assert wanted - THERE <= own


def test_it_is_where_upstreams_is() -> None:
    text = RECIPE.read_text()
    for line in (
        'RPROVIDES:${PN} = "parsec-service"',
        "install -m 0400 -o parsec -g parsec ${PARSEC_CONFIG} ${D}${sysconfdir}/parsec/config.toml",
        "install -d -m 0700 -o parsec -g parsec ${D}${localstatedir}/lib/parsec",
    ):
        assert line in text
    # Everything that is installed from the project is there.
    for name in re.findall(r"\$\{S\}/(deploy/[\w./-]+)", text):
        assert (ROOT / name).exists()


@pytest.mark.parametrize("script", ["edgeroot.init", "run-ptest"])
def test_scripts_are_of_a_plain_shell(script: str) -> None:
    path = RECIPE.parent / "files" / script
    assert os.access(path, os.X_OK)
    subprocess.run(["dash", "-n", path], check=True)


def test_the_suite_of_the_image_passes_here_and_can_fail() -> None:
    script = RECIPE.parent / "files/run-ptest"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with running_service() as service:
        environment = {**os.environ, "PATH": path, "MODULE": str(module())}
        there = {**environment, "PARSEC_SERVICE_ENDPOINT": service.endpoint}
        done = subprocess.run([script], env=there, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["PASS"] * 8
        nowhere = {**environment, "PARSEC_SERVICE_ENDPOINT": "unix:/nowhere"}
        done = subprocess.run([script], env=nowhere, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "FAIL: ping" in done.stdout
