//! Decides what to do: classification, playbooks, policy, outcome and lessons.
