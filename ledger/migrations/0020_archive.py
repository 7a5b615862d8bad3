from django.db import migrations

import ledger.fields


class Migration(migrations.Migration):
    """Checkpoints may be in files."""

    dependencies = [("ledger", "0019_wallet_token")]

    operations = [
        migrations.AddField(
            model_name="rootcommitment",
            name="archive_digest",
            field=ledger.fields.HashField(
                null=True,
                help_text="SHA-256 of the file with its allotments and trees, if they are not here any more.",
            ),
        ),
    ]
