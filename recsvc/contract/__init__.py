"""What service and training agree on: schema, manifest, registry, archive. No torch, no HTTP."""
