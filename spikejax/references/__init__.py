"""What simulator and adjoints are tested against: an independent solution (`lif_events`) and the costate
equations by hand (`paper`)."""

__all__: list[str] = []
