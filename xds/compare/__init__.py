"""Whether everybody says the same: the old proxy's map, GDS, the control plane and the edge itself, host by host.

`verdict` is pure: what was said in, what differs out. `run` asks, with bounds: GDS is somebody's production. `sources`
are those who are asked.
"""
