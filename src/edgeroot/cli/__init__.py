"""The frame of the command line: finding commands, their common options, output and errors.

It knows no other room. Each room's commands are found by entry point (group ``edgeroot.commands``) and imported when
they are called.
"""
