"""The bridge: programs that were written for Linux's TSTEE driver, on the emulated secure world.

``LD_PRELOAD`` of the library that :func:`edgeroot.secure.bridge.build.build_bridge` makes; its source lies beside it.
"""
