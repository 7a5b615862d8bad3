from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("ledger", "0013_listing"),
    ]

    operations = [
        migrations.AddField(
            model_name="chainstatus",
            name="maintenance",
            field=models.BooleanField(
                db_default=False, default=False, help_text="The operator takes nothing new for now."
            ),
        ),
    ]
