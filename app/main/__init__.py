"""The composition: settings become rooms, rooms a house, the house an application. No rule lives here."""

from app.main.application import create_app
from app.main.doors import ROUTERS, hang
from app.main.preparing import go_on_from_the_last_line, prepare, sweep_half_stored
from app.main.rooms import Built, Served, build, serving
from app.main.working import start_worker

__all__ = [
    "ROUTERS",
    "Built",
    "Served",
    "build",
    "create_app",
    "go_on_from_the_last_line",
    "hang",
    "prepare",
    "serving",
    "start_worker",
    "sweep_half_stored",
]
