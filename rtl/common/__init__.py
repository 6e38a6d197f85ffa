"""What more than one engine is made of: ports, work list, loaders, memories, queues."""
