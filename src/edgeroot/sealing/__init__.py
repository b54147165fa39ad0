"""Wrapping keys for what lies on disk.

A sealed blob can be read by whoever has the wrapping key and names the same context, and cannot be changed unnoticed.
"""

from edgeroot.sealing.key_file import key_file as key_file
from edgeroot.sealing.wrapping_key import SealingError as SealingError
from edgeroot.sealing.wrapping_key import WrappingKey as WrappingKey
