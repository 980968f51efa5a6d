# Paper, section 4.2: the backups stop hearing the primary, and the next one takes over.
cluster 3
given request c1 put x 1
given settle
crash r0
timeout r1 primary-silence
timeout r2 primary-silence
settle
expect r1 primary
expect r2 view 1
request c1 put y 2
resend c1
settle
expect reply c1 "ok"
given restart r0
given settle
given timeout r1 heartbeat
given settle
expect r0 status normal
expect one view
expect same-state *
