"""Workflow runs: GA4GH WES on top of this server's own TES tasks."""
