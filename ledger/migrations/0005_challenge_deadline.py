from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ledger", "0004_standing_requests"),
    ]

    operations = [
        migrations.AddField(
            model_name="challenge",
            name="by_sender",
            field=models.BooleanField(
                help_text="Whether the transfer's sender opened it; null until the contract's record was read.",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="challenge",
            name="deadline",
            field=models.BigIntegerField(default=0, help_text="The last block that may hold the answer."),
            preserve_default=False,
        ),
        migrations.AddIndex(
            model_name="challenge",
            index=models.Index(
                condition=models.Q(("rebuted", False)), fields=["eon_number"], name="challenge_open"
            ),
        ),
    ]
