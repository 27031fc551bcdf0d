"""The stores: ClickHouse for calls and messages, Postgres for runs, steps, links and offsets.

clickhouse, native      the event store behind one seam: a server, or the embedded engine
postgres                the run store: one transaction a batch; postgres_errors tells its errors apart
event_rows, run_rows    records <-> rows of the two, pure; views: what a store can hold of a foreign value
reading, call_shapes    what console and command line ask, and the shapes they are answered in
keys                    project keys, kept as hashes
migrate, sql            schemas brought up to date; statements found by name in sql/*.sql
embedded/               both engines out of wheels, in a directory
"""
