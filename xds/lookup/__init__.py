"""The *lookup* way of knowing a domain: GDS is asked for one host at a time, when somebody asks for it.

For a GDS that has ``GET /backend/{host}`` and nothing else (`docs/lookup.md`); chosen by ``gds.mode = "lookup"``. What
comes out are the snapshots and transactions that `xds.gds.mirror` makes of a watch, so that guard, hold, rollback,
disk and everything after them are the same.

| module | does |
| --- | --- |
| `asking` | what a question to GDS is, and what comes of it: the protocol `Asker` |
| `client` | asks over HTTP, the ways that real GDSs differ in: path, header or certificate, text or JSON |
| `reading` | pure: which answers are one, and what to set when one isn't |
| `pods_file` | the pods, which such a GDS can't name the addresses of: a file, read again when it changes |
| `budget`, `turns` | pure: how many questions GDS is asked, and who waits for that in vain |
| `fair` | pure: whose host is asked for next |
| `breaker`, `answers` | pure: when GDS isn't asked, which answers are remembered |
| `rounds`, `departures` | pure: what is asked again and when; when a domain is taken for gone |
| `resolver` | one question for all who wait for a host, within the budget and in bounded time |
| `preload` | pure: which hosts of an old map become known without a question |
| `learner` | makes of answers what the gate follows; asks again in the background |
| `settings`, `client_settings` | the section ``lookup`` |
"""
