"""Foreign simulators behind `HostLanes`: worker processes, shared memory, and what may go wrong with either."""
