"""Firmware updates: releases in a TUF repository, fetched by devices and installed through PSA Firmware Update.

One job each: TUF says what may be installed, an image's TLVs (MCUboot) say what it is and needs, DEN0118's metadata
says which bank boots, and the PSA API is the way to all of it on the device.
"""
