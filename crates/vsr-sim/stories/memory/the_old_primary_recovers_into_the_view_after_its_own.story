# The primary stops, and the others are in the next view before it is back: it becomes a backup there, with
# all that it acknowledged, and is never primary of its view again.
cluster 3 durability memory
given request c1 put x 1
given settle
crash r0
given timeout r1 primary-silence
given timeout r2 primary-silence
given settle
expect r1 primary
restart r0
settle
expect r0 status backup
expect r0 view 1
timeout r1 heartbeat
settle
expect r0 commit 1
expect key x 1
expect same-state *
