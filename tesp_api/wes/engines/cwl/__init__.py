"""The engine `cwl`: CWL v1.0 to v1.2 by cwltool, each step a task."""

from tesp_api.wes.engines.cwl.engine import CwlEngine

__all__ = ["CwlEngine"]
