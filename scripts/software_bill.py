"""What a wheel, a Debian package or the container image is made of, as a bill in CycloneDX 1.6."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path
from typing import Final

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement

_FIELD: Final = re.compile(r"^(Package|Version|Architecture): (.+)$", re.MULTILINE)
_MACHINE_READABLE: Final = re.compile(r"^Format: \S+/copyright-format/1\.0/?\s*$", re.MULTILINE)
_LICENCE_OF_FILES: Final = re.compile(r"^Files:.*?^License:[ \t]*(\S[^\n]*)", re.MULTILINE | re.DOTALL)


class BillError(Exception):
    """What something is made of cannot be said."""


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """A package. ``licences`` are the names that its maker gives them, not SPDX's."""

    name: str
    version: str
    purl: str
    licences: tuple[str, ...] = ()


def software_bill(name: str, version: str, parts: Iterable[Part]) -> bytes:
    """The bill. BillError if it does not follow the schema."""
    bom = Bom()
    whole = Component(name=name, version=version, type=ComponentType.APPLICATION, bom_ref=name)
    bom.metadata.component = whole
    for part in sorted(set(parts)):
        library = Component(
            name=part.name,
            version=part.version,
            type=ComponentType.LIBRARY,
            purl=PackageURL.from_string(part.purl),
            bom_ref=part.purl,
            licenses=[DisjunctiveLicense(name=one) for one in part.licences],
        )
        bom.components.add(library)
        bom.register_dependency(whole, [library])
    text = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)
    if (problem := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)) is not None:
        raise BillError(f"the SBOM of {name} does not follow its schema: {problem}")
    # Who built it when does not belong to what it is: built twice, it is the same.
    document = json.loads(text)
    document.pop("serialNumber", None)
    document["metadata"].pop("timestamp", None)
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def parts_of(artefact: Path) -> list[Part]:
    """The packages in it; for a wheel, those that it stands on, as they are installed here."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if artefact.suffix == ".tar":
            root = place / "root"
            root.mkdir()
            subprocess.run(["tar", "--extract", "--file", artefact, "--directory", place], check=True)
            for layer in _layers(place):
                unpack: list[str | Path] = ["tar", "--extract", "--gzip", "--file", layer, "--directory", root]
                subprocess.run(unpack, check=True)
            folders = (root / "usr/local/lib").glob("python3*/dist-packages")
            return [*_python(distributions(path=[str(one) for one in folders])), *_debian(root)]
        if artefact.suffix == ".deb":
            subprocess.run(["dpkg-deb", "--extract", artefact, place], check=True)
            return list(_python(distributions(path=[str(place / "usr/lib/edgeroot")])))
        with zipfile.ZipFile(artefact) as wheel:
            wheel.extractall(place)
        (own,) = distributions(path=[str(place)])
        return list(_python(_closure(own)))


def _python(packages: Iterable[Distribution]) -> Iterator[Part]:
    for one in packages:
        yield Part(one.name, one.version, PackageURL("pypi", name=one.name.lower(), version=one.version).to_string())


def _debian(root: Path) -> Iterator[Part]:
    """Those that the image says it is unpacked of."""
    release = dict(line.split("=", 1) for line in (root / "etc/os-release").read_text().splitlines() if "=" in line)
    vendor = release["ID"].strip('"')
    for status in sorted((root / "var/lib/dpkg/status.d").iterdir()):
        fields = dict(_FIELD.findall(status.read_text()))
        name, version = fields["Package"], fields["Version"]
        purl = PackageURL("deb", vendor, name, version, qualifiers={"arch": fields["Architecture"]})
        yield Part(name, version, purl.to_string(), licences(root / "usr/share/doc" / name / "copyright"))


def licences(document: Path) -> tuple[str, ...]:
    """Every licence that a copyright file names, if it is one for machines (copyright-format 1.0); prose has none."""
    text = document.read_text(errors="replace")
    if not _MACHINE_READABLE.search(text):
        return ()
    found = (_LICENCE_OF_FILES.match(paragraph) for paragraph in re.split(r"\n[ \t]*\n+", text))
    return tuple(sorted({one[1].strip() for one in found if one}))


def _closure(whole: Distribution) -> list[Distribution]:
    """What a package wants without its extras, and what that wants in turn."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    to_come = [(whole, "")]
    while to_come:
        package, extra = to_come.pop()
        for requirement in map(Requirement, package.requires or ()):
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                continue
            try:
                wanted = distribution(requirement.name)
            except PackageNotFoundError as error:
                raise BillError(f"{requirement.name}: not installed here, so its version is not known") from error
            found[wanted.name] = wanted
            fresh = {(wanted.name, one) for one in {"", *requirement.extras}} - seen
            to_come += [(wanted, one) for _, one in fresh]
            seen |= fresh
    return list(found.values())


def _layers(layout: Path) -> list[Path]:
    """Of an OCI image layout with one image."""

    def blob(digest: str) -> Path:
        return layout / "blobs/sha256" / digest.removeprefix("sha256:")

    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
    return [blob(one["digest"]) for one in json.loads(blob(entry["digest"]).read_text())["layers"]]
