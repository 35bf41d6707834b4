"""The expander: cwltool in a process of its own, which knows no file, no network and no secret.

It runs in the engine's locked environment, shut up in a sandbox, so it imports cwltool, the standard library
and nothing else of ours. All it can do is ask the server over its one channel (`server.py`), JSON lines both
ways: read and list files, write small ones, and have steps run as tasks. The server decides what is allowed.

It may be killed at any moment and started again. What it then submits has the same keys (`keys.py`), so the
server finds the tasks of the steps rather than creating them.
"""
