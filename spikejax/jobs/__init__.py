"""What a command does: work on disk, from a configuration or a run's folder to files.

Importing `spikejax.jobs.commands` registers the commands in `spikejax.jobs.command.COMMANDS`.
"""

__all__: list[str] = []
