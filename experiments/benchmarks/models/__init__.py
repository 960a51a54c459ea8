"""The model of `settings`, written with each library: ``build(problem, **options)`` gives a `Built`."""
