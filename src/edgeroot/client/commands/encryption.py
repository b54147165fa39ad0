"""Encrypting and decrypting short texts and whole files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, BinaryIO, TypeVar

import click

from edgeroot.cli.errors import CommandError
from edgeroot.cli.files import open_input, open_output, read_input, text_or_file, write_output, written
from edgeroot.cli.frame import command
from edgeroot.cli.output import emit, note
from edgeroot.cli.settings import current
from edgeroot.client.commands import names
from edgeroot.client.commands.encoding import from_base64, to_base64
from edgeroot.client.commands.session import key_name_option, service
from edgeroot.psa import Algorithm, KeyAttributes

if TYPE_CHECKING:
    from edgeroot.client import Client
    from edgeroot.client.commands.sealed_file import Header

SECTION = "Encryption"
F = TypeVar("F", bound=Callable[..., object])
_PROGRESS_FROM_BYTES = 8 << 20


@command(
    "encrypt",
    examples=[
        "edgeroot encrypt -k mail 'hello'",
        "openssl pkeyutl -encrypt -pubin -inkey mail.pem -in hello.txt     # the same, without the service",
    ],
)
@key_name_option("Name of an RSA key pair or public key.")
@click.argument("text", required=False)
@click.option("-f", "--file", "file", metavar="FILE", help="Encrypt a short file; '-' is standard input.")
@click.option("--label", default="", help="OAEP's label; decryption needs the same.")
def encrypt(key_name: str, text: str | None, file: str | None, label: str) -> None:
    """Encrypt a short TEXT with an RSA key; prints base64.

    For files of any size there is encrypt-file.
    """
    data = text_or_file(text, file)
    with service() as client:
        algorithm = _asymmetric(key_name, client.key_attributes(key_name))
        encoded = to_base64(client.asymmetric_encrypt(key_name, algorithm, data, os.fsencode(label)))
    emit({"key_name": key_name, "algorithm": names.spell_algorithm(algorithm), "ciphertext_base64": encoded}, encoded)


@command(
    "decrypt",
    examples=[
        "edgeroot decrypt -k mail aGVsbG8...",
        "edgeroot decrypt -k mail --file message.bin -o message.txt",
    ],
)
@key_name_option("Name of an RSA key pair.")
@click.argument("ciphertext", metavar="BASE64", required=False)
@click.option("-f", "--file", "file", metavar="FILE", help="Decrypt the bytes of a file; '-' is standard input.")
@click.option("-o", "--output", metavar="FILE", help="Write the plaintext's bytes to a file (mode 0600).")
@click.option("--label", default="", help="OAEP's label, as it was given to encrypt.")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def decrypt(
    key_name: str, ciphertext: str | None, file: str | None, output: str | None, label: str, *, force: bool
) -> None:
    """Decrypt what encrypt has printed, or the bytes of a file, with an RSA key; prints text."""
    if (ciphertext is None) == (file is None):
        raise click.UsageError("give either BASE64 or --file FILE ('-' is standard input)")
    data = from_base64(ciphertext, "the ciphertext") if ciphertext is not None else read_input(str(file))
    with service() as client:
        algorithm = _asymmetric(key_name, client.key_attributes(key_name))
        plaintext = client.asymmetric_decrypt(key_name, algorithm, data, os.fsencode(label))
    if output is not None:
        write_output(output, bytes(plaintext), what="plaintext", force=force, mode=0o600)
        written(output, {"key_name": key_name})
    elif current().json:
        emit({"key_name": key_name, "plaintext_base64": to_base64(plaintext)}, None)
    else:
        click.echo(plaintext.decode("utf-8", "replace"))


def _asymmetric(key_name: str, attributes: KeyAttributes) -> Algorithm:
    if not attributes.algorithm.is_asymmetric_encryption:
        raise CommandError(
            f"{key_name} is a key for {names.spell_algorithm(attributes.algorithm)}: for RSA encryption make one with "
            "create-rsa-key; for files and AES keys there are encrypt-file and cipher-encrypt"
        )
    return attributes.algorithm


def _file_options(function: F) -> F:
    for option in (
        click.option("--force", is_flag=True, help="Replace FILE if it exists, or write to a terminal."),
        click.option("-o", "--output", metavar="FILE", help="Where the result goes. Default: standard output."),
        click.argument("file", metavar="FILE"),
    ):
        function = option(function)
    return function


@command(
    "cipher-encrypt",
    examples=["edgeroot cipher-encrypt -k disk plain.bin -o cipher.bin"],
)
@key_name_option("Name of a key for a cipher mode, made with create-aes-key --mode.")
@_file_options
def cipher_encrypt(key_name: str, file: str, output: str | None, *, force: bool) -> None:
    """Encrypt a file with a cipher mode such as CTR or CBC; the IV stands in front of the result.

    Nobody notices if such a ciphertext is changed: prefer encrypt-file. The file has to fit into one request, 1 MiB
    unless the service is configured otherwise.
    """
    data = read_input(file)
    with service() as client:
        algorithm = _cipher(key_name, client.key_attributes(key_name))
        result = client.cipher_encrypt(key_name, algorithm, data)
    _whole_result(key_name, "ciphertext_base64", result, output, force=force, mode=0o666)


@command(
    "cipher-decrypt",
    examples=["edgeroot cipher-decrypt -k disk cipher.bin -o plain.bin"],
)
@key_name_option("Name of the key that the file was encrypted with.")
@_file_options
def cipher_decrypt(key_name: str, file: str, output: str | None, *, force: bool) -> None:
    """Decrypt a file that cipher-encrypt has made: an IV and the ciphertext behind it."""
    data = read_input(file)
    with service() as client:
        algorithm = _cipher(key_name, client.key_attributes(key_name))
        result = client.cipher_decrypt(key_name, algorithm, data)
    _whole_result(key_name, "plaintext_base64", result, output, force=force, mode=0o600)


def _whole_result(key_name: str, field: str, data: bytes, output: str | None, *, force: bool, mode: int) -> None:
    if output is None and current().json:
        emit({"key_name": key_name, field: to_base64(data)}, None)
    else:
        write_output(output, bytes(data), what="binary data", force=force, mode=mode)
        written(output, {"key_name": key_name})


def _cipher(key_name: str, attributes: KeyAttributes) -> Algorithm:
    if not attributes.algorithm.is_cipher:
        raise CommandError(
            f"{key_name} is a key for {names.spell_algorithm(attributes.algorithm)}: make one with create-aes-key "
            "--mode ctr, or use encrypt-file with a key for gcm"
        )
    return attributes.algorithm


@command(
    "encrypt-file",
    examples=[
        "edgeroot create-aes-key -k files",
        "edgeroot encrypt-file -k files backup.tar -o backup.tar.sealed",
        "tar c photos | edgeroot encrypt-file -k files - -o photos.sealed",
    ],
)
@key_name_option("Name of a key for AES-GCM, AES-CCM or ChaCha20-Poly1305.")
@_file_options
@click.option(
    "--chunk-size",
    type=click.IntRange(min=1, max=64 << 10),
    default=512,
    show_default=True,
    metavar="KIB",
    help="KiB in one request to the service.",
)
def encrypt_file(key_name: str, file: str, output: str | None, chunk_size: int, *, force: bool) -> None:
    """Encrypt a file of any size, so that every change of it will be noticed.

    The key never leaves the service. The format is described in the command line's documentation; the file names the
    key, so decrypt-file needs no -k. The result appears when it is complete.
    """
    from edgeroot.client.commands.sealed_file import PREFIX_BYTES, Header

    with service() as client:
        algorithm = _aead(key_name, client.key_attributes(key_name).algorithm)
        header = Header(algorithm, chunk_size << 10, os.urandom(PREFIX_BYTES), key_name)
        with (
            open_input(file) as source,
            open_output(output, what="binary data", force=force) as target,
            _progress(source) as advance,
        ):
            target.write(bytes(header))
            total = 0
            for number, chunk, last in _chunks(source, header.chunk_bytes):
                nonce = _nonce(header, number, last=last)
                target.write(client.aead_encrypt(key_name, algorithm, nonce, bytes(header), chunk))
                total += len(chunk)
                advance(len(chunk))
    _done(key_name, algorithm, total, output)


@command(
    "decrypt-file",
    examples=[
        "edgeroot decrypt-file backup.tar.sealed -o backup.tar",
        "edgeroot decrypt-file photos.sealed | tar x      # then look at the exit code before trusting the end",
    ],
)
@_file_options
@click.option("-k", "--key-name", metavar="NAME", help="Name of the key. Default: the name in the file.")
def decrypt_file(file: str, output: str | None, key_name: str | None, *, force: bool) -> None:
    """Decrypt a file that encrypt-file has made.

    With -o the file appears only if all of it is genuine. On standard output each part is genuine when it is written,
    but whether the end is missing shows at the end, by the exit code.
    """
    with open_input(file) as source, service() as client:
        header = _read_header(source)
        name = key_name or header.key_name
        algorithm = _aead(name, client.key_attributes(name).algorithm)
        if algorithm != header.algorithm:
            raise CommandError(
                f"the file was encrypted with {names.spell_algorithm(header.algorithm)}, but {name} is a key for "
                f"{names.spell_algorithm(algorithm)}: name the right key with -k"
            )
        with open_output(output, what="plaintext", force=force, mode=0o600) as target, _progress(source) as advance:
            total = _open_chunks(client, name, header, source, target, advance)
    _done(name, algorithm, total, output)


def _open_chunks(
    client: Client, key_name: str, header: Header, source: BinaryIO, target: IO[bytes], advance: Callable[[int], None]
) -> int:
    from edgeroot.client.commands.sealed_file import TAG_BYTES
    from edgeroot.client.errors import InvalidSignatureError

    additional, total = bytes(header), 0
    for number, chunk, last in _chunks(source, header.chunk_bytes + TAG_BYTES):
        if len(chunk) < TAG_BYTES or (last and number and len(chunk) == TAG_BYTES):
            raise CommandError("the file was cut off: get a complete copy")
        nonce = _nonce(header, number, last=last)
        try:
            plaintext = client.aead_decrypt(key_name, header.algorithm, nonce, additional, chunk)
        except InvalidSignatureError as error:
            raise CommandError(
                f"part {number + 1} of the file is not genuine: it was changed or cut off, or {key_name} is not the "
                "key it was encrypted with; do not trust it, and get another copy"
            ) from error
        target.write(plaintext)
        total += len(plaintext)
        advance(len(chunk))
    return total


def _aead(key_name: str, algorithm: Algorithm) -> Algorithm:
    if not algorithm.is_aead or algorithm != algorithm.aead_default:
        raise CommandError(
            f"{key_name} is a key for {names.spell_algorithm(algorithm)}: files need an AEAD with its whole tag, as "
            "create-aes-key makes it"
        )
    return algorithm


def _nonce(header: Header, number: int, *, last: bool) -> bytes:
    try:
        return header.nonce(number, last=last)
    except OverflowError as error:
        raise CommandError(f"the file is too long ({error}): split it, or raise --chunk-size") from error


def _read_header(source: BinaryIO) -> Header:
    from edgeroot.client.commands import sealed_file

    try:
        fixed = source.read(sealed_file.FIXED_BYTES)
        return sealed_file.parse_header(fixed + source.read(sealed_file.name_length(fixed)))
    except sealed_file.NotSealedError as error:
        raise CommandError(f"{error}: see whether this is the right file") from error


def _chunks(source: BinaryIO, size: int) -> Iterator[tuple[int, bytes, bool]]:
    """Number, bytes and whether it is the last, for each chunk; at least one, which an empty input has empty."""
    number, chunk = 0, source.read(size)
    while True:
        following = source.read(size)
        yield number, chunk, not following
        if not following:
            return
        number, chunk = number + 1, following


@contextmanager
def _progress(source: BinaryIO) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, when a person watches and the work is long."""
    import sys

    try:
        length = os.fstat(source.fileno()).st_size
    except OSError:
        length = 0
    if length < _PROGRESS_FROM_BYTES or not sys.stderr.isatty() or current().json:
        yield lambda _bytes: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=length)
        yield lambda count: progress.advance(task, count)


def _done(key_name: str, algorithm: Algorithm, plaintext_bytes: int, output: str | None) -> None:
    if output is None or output == "-":
        return
    if current().json:
        emit(
            {
                "key_name": key_name,
                "algorithm": names.spell_algorithm(algorithm),
                "plaintext_bytes": plaintext_bytes,
                "output": output,
            },
            None,
        )
    else:
        note(f"{output} is written.")
