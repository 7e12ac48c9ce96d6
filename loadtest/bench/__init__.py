"""How fast is the service, beside what one would otherwise pick? The one part of `loadtest` that starts and drives it."""
