import ledger.fields
from django.db import migrations


class Migration(migrations.Migration):
    """Wallets keep their owners' public keys, by which signatures are verified together."""

    dependencies = [
        ("ledger", "0021_paid_requests"),
    ]

    operations = [
        migrations.AddField(
            model_name="wallet",
            name="public_key",
            field=ledger.fields.PublicKeyField(help_text="Of the owner, where it is known.", null=True),
        ),
    ]
