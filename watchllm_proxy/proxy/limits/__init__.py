"""What a project may send: its month's quota, its caps on money, its rate, its share of the places.

months     calendar months of UTC
counts     requests by project and day, in a file that outlives the worker and that the others look into
report     what other machines counted and who reached a cap, in a file
rates      token buckets, in memory that all workers of the machine share
shares     places of one worker, so that no project takes them all
admission  the four of them asked for one request; a refusal is counted like a request that passed

No database is asked: who can ask one writes that file (metering.py).
"""
