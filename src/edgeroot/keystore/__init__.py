"""Names to keys, for every provider: the store's file, its one writer, its readers, recovery, and upstream's stores.

:class:`~edgeroot.keystore.writer.Writer` applies what :mod:`edgeroot.keystore.writes` describes,
:class:`~edgeroot.keystore.reader.Reader` looks up, :class:`~edgeroot.keystore.generation.Generations` tells whether
what was looked up still holds. No process, thread or socket is made here.
"""
