"""The real server with a scripted workflow engine."""

from tesp_api.app import create_app
from tests.fakes.script_engine import ScriptEngine

app = create_app(engines={"script": ScriptEngine()})
