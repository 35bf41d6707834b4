"""The CWL conformance suite against this server: `make conformance SUITE=path`.

The suite is the public repository common-workflow-language/cwl-v1.2, which is no part of this project: SUITE
is where a copy of it lies.
"""
