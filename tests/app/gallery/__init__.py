"""Every screen of the console in every state: the way to each state, and how its picture is written down."""
