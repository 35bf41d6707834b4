"""The engine `cwl`: CWL v1.0 to v1.2 by cwltool, each step a task."""
