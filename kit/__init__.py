"""How is any service built? App factory, settings, logs, telemetry, problems, redis, http."""
