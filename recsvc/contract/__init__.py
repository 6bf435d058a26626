"""What service and training agree on: schema, manifest, registry. No torch, no HTTP."""
