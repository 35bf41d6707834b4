"""What happens to tasks when something dies: a matrix of faults, phases of a task, and kinds of servers.

`python -m tests.acceptance.faults` runs it and prints it; docs/reliability.md says what is promised.

A scenario (`scenario.py`) is a function that gets a `Stage`: it creates tasks with `stage.world.create`,
brings a fault about, mends it, and returns. The campaign then waits for every task that the world has
created since, and checks it, by the same rules for all (`invariants.py`):

    def kill_pulsar(stage: Stage) -> None:
        world = stage.world
        task = world.create(Course.COMPLETES, hold="running")   # returns once the task is held there
        world.pulsar.kill()
        world.pulsar.start()
        world.let_go(task)

    def scenarios() -> Iterator[Scenario]:
        yield Scenario("Pulsar killed", "running", REST, kill_pulsar)

    def absences() -> Iterator[Absence]:
        yield Absence("Pulsar killed", "*", "*+embedded", "it is in the server's own process")

A module of such scenarios is named in `catalogue.py`. Worlds are shared by scenarios, one after the other;
one in which something went wrong is not used again.
"""
