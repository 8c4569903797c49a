"""Which version is served: loading, rehearsal and versions on trial."""
