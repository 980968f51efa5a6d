# D3: a replica that hears DO-VIEW-CHANGE adopts the message's view, not its own plus one.
cluster 3
cut r0 | r1 r2
timeout r1 primary-silence
timeout r2 primary-silence
settle
abdicate r1
settle
expect r2 primary
abdicate r2
settle
expect r1 view 3
expect r0 view 0
heal
timeout r1 do-view-change-resend
deliver r1->r0 do-view-change
expect r0 view 3
settle
expect r0 primary
