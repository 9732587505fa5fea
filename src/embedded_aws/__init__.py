"""AWS on loopback, for rehearsals and tests: ministack, with its known gaps closed."""
