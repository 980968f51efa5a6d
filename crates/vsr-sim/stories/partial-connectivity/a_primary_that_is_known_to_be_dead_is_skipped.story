# r1 has been silent for long when r0 dies too: the views that r1 would lead are not even tried.
# (protocol.md section 4: known not to be of use; ADR 26.)
cluster 5
given run 1s
crash r1
given run 1s
crash r0
given run 500ms
expect r2 primary
expect r3 view 2
