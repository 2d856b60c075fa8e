"""What a pipeline shows to people: plans, outcomes, history and status as Markdown that GitHub and GitLab render."""
