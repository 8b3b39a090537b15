"""The whole system on one machine, from its real parts: for `make demo`, the end-to-end tests and the benchmarks."""
