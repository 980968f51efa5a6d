# D15: who recovers may itself be the primary of the latest view, and nobody else can say what that view's log
# is. It asks again and again; the others hear no primary, change views without it, and then they can.
cluster 3 durability memory
given request c1 put x 1
given settle
crash r0
restart r0
settle
expect r0 status recovering
timeout r0 recovery
settle
expect r0 status recovering
timeout r1 primary-silence
timeout r2 primary-silence
settle
expect r1 primary
expect r0 status recovering
timeout r0 recovery
settle
expect r0 status backup
expect r0 view 1
given timeout r1 heartbeat
given settle
expect same-state *
