import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    """Signatures are looked up by their addresses; who signed an edition is never asked of all."""

    dependencies = [("tos", "0001_initial")]

    operations = [
        migrations.AlterField(
            model_name="tossignature",
            name="tos_config",
            field=models.ForeignKey(
                db_index=False, on_delete=django.db.models.deletion.PROTECT, to="tos.tosconfig"
            ),
        ),
    ]
