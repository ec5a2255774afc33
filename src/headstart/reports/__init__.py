"""Reports: statistics, figures, pages and films. They read `Result`s and know no agent."""
