# D7: START-VIEW-CHANGE for the view in which a replica is normal counts as a vote, nothing more.
cluster 3
timeout r2 primary-silence
settle
expect r0 primary
expect r0 view 0
expect r1 status normal
expect r1 view 0
