"""Where things are kept: database, migrations, workspace, whole files, fingerprints."""
